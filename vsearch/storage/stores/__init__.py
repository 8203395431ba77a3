"""Object stores behind one small protocol: folders, S3, Google Cloud Storage, Azure and memory."""
