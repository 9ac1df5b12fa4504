"""The data sets' columns and their roles: one folder of TF Metadata schemas each; `model.schema` reads them."""
