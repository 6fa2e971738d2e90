"""Reliable calls between objects: the rules of delivery, without IO."""
