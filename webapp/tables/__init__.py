"""One table definition per Ray resource."""
