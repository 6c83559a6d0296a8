"""Your own assets, schedules and sensors: Dagster loads every Python file in this folder with Creditloom's definitions.

See docs/your-own-assets.md. No file of Creditloom is in this folder. The nightly job does not run your assets.
"""
