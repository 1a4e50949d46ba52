"""The server: solos over HTTP."""
