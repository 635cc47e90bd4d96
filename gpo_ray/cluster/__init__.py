"""Files for clusters: one typed profile, the manifests written from it, and the check of every manifest."""
