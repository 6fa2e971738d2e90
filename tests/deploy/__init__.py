"""Tests of images, chart and manifests with the tools that a deployment uses: `make verify-deploy`."""
