"""GeoDjango's MySQL backend with our pools: what its documentation asks others to write."""
