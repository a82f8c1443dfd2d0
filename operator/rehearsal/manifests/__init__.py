"""From a stage to its Job. Pure: the same stage and platform give the same manifest, on a cluster and on one machine."""
