"""The gallery: a page beside the videos where people look instead of read, with its data in files beside it.

The page's size does not depend on how many clips there are. What it shows comes from files of some hundred clips each, which
are named by their content and loaded as scripts, because a page opened from disk may load nothing else. Whoever publishes
hands in every row once, in the manifest's order; nothing here holds them all.
"""

from sora_pipeline.production.gallery.page import GALLERY, gallery_page

__all__ = ["GALLERY", "gallery_page"]
