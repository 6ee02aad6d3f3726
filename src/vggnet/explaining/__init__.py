"""Show what a net sees: score maps, saliency, crops. Arrays and pictures, for reports, pages and notebooks."""
