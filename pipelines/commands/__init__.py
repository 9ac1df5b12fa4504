"""The commands of `twin` that prepare data, train and refresh; one file each."""
