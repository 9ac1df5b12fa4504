"""A suite of requests with known answers that tells whether a server behaves as TensorFlow Serving does."""
