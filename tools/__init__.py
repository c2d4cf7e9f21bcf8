"""What is used to build this repository and is not part of the service."""
