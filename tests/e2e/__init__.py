"""The whole product on a real cluster: images, chart, operator, engines, store, network. `make e2e`, not part of `make test`."""
