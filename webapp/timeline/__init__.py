"""The timeline of tasks as a page draws it: which window, which rows, what stands where in them."""
