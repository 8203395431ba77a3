"""Object stores behind one small protocol: folders, S3 and memory."""
