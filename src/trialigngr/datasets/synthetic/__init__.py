"""The drawn shop: a small shop with pictures, texts and shoppers whose truth is known. See docs/shop.md."""
