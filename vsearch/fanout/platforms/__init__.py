"""Where functions run: in this process, on AWS Lambda, behind plain HTTP."""
