"""Images, chart and manifests, looked at by the programs that a deployment uses: `make verify-deploy`."""
