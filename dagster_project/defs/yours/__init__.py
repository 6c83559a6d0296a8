"""Your own assets, schedules and sensors: every Python file in this folder is loaded beside Creditloom's definitions.

See docs/your-own-assets.md. Nothing of Creditloom lives here, and the nightly job does not run what you add.
"""
