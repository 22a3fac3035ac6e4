"""GeoDjango's MySQL backend with our pools: what its documentation tells others to write."""
