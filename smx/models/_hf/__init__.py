"""Any image-text-to-text model of transformers, asked through its own processor and chat template."""
