"""lorair on Ray: folders of pictures on Ray Data, the server on Ray Serve.

Ray is imported where it is used; the extra `ray` brings it.
"""
