"""A FaaS on this machine: the Invoke API of AWS Lambda in front, one real runtime process per execution environment."""
