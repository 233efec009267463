"""The plugins of cluster DNS, one file each; `table` lists them in the order in which a query passes them."""
