"""Deployment of an index to AWS Lambda: packages, templates, functions with least privilege, and cost estimates."""
