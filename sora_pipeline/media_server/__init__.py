"""Shows videos and their pictures to a browser: signed links, and a small server that answers to nothing else.

It only reads, and only what lies in the outputs of productions that the ledger knows. The links are made by whoever logs a clip,
and need neither the server nor its libraries.
"""
