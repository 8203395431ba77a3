"""A local FaaS: the Invoke API of AWS Lambda in front of one real runtime process per execution environment."""
