"""What api and worker share: the prediction, its ledger, the blobs, the queue, the models and the pixels' geometry."""
