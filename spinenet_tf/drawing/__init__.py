"""Draw boxes on images, many images on a sheet, and text in every language the font has."""
