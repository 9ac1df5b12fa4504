"""The TFX pipeline: components, DAG and runners. Importing TFX takes half a minute, so nothing else imports this."""
