"""What a download comes to, before anything is fetched: the request, and its plan."""
