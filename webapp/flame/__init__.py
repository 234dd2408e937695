"""Profiles and stacks as pages draw them: call trees, flame graphs, tables, differences, what stands together, and files of each."""
