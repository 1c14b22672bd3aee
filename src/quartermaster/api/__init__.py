"""The only place that knows the field names of Kubernetes objects: JSON to model values and back. Pure."""
