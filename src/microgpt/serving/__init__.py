"""The server: the page and the HTTP interface, for browsers and programs on this machine."""
