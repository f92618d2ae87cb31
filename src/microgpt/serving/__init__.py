"""The page and the HTTP interface: what a browser or a program on this machine may ask."""
