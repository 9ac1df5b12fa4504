"""The embedded model server: TF Serving's gRPC and REST interface in one process."""
