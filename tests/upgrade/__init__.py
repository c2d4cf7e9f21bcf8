"""Data that earlier versions wrote, and the test that this version works with them."""
