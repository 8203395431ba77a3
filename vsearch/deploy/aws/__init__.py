"""AWS: templates, roles, versions and stacks."""
