"""Files for clusters: a typed profile, the manifests written from it, and a check of every manifest."""
