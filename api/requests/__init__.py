"""The requests that clients send: headers and bodies, read and checked."""
