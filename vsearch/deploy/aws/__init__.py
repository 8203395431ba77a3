"""AWS: templates, roles, versions and the stack itself."""
