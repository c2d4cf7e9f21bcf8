"""Everything in Redis that changes atomically: predictions, batches, deliveries."""
