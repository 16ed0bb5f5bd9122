"""MediaWiki SQL dumps: rows of one table as NumPy columns, and the links between the pages of a wiki.

``read_links`` joins the dumps of page, pagelinks, linktarget and redirect; ``iterate_rows`` reads one table.
"""

from hyperspectral_geo.data.mediawiki.link_graph import read_links
from hyperspectral_geo.data.mediawiki.page_links import PageLinks
from hyperspectral_geo.data.mediawiki.schema import Column
from hyperspectral_geo.data.mediawiki.sql_rows import iterate_rows, read_schema

__all__ = ["Column", "PageLinks", "iterate_rows", "read_links", "read_schema"]
