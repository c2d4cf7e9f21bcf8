"""The cases beside the checkout: requests, and the right answers to them."""
