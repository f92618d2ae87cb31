"""The web page: its sources, and their assembly into one file. It is no part of a server."""
