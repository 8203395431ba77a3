"""Deploying an index to AWS Lambda: packages, a template, functions with least privilege, and what they will cost."""
