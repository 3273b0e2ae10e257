"""Cost functions, variables, orderings, pseudo-trees and file formats."""
