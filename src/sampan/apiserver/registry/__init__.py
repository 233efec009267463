"""One file per resource that behaves specially, and the tables of defaults and columns."""
