package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// Judge live resources by kstatus: a JSON list of them in, a list of verdicts out.
func judge(input io.Reader) error {
	var resources []unstructured.Unstructured
	if err := json.NewDecoder(input).Decode(&resources); err != nil {
		return err
	}
	verdicts := []verdict{}
	for i := range resources {
		result, err := status.Compute(&resources[i])
		if err != nil {
			return fmt.Errorf("%s: %w", resources[i].GetName(), err)
		}
		verdicts = append(verdicts, verdict{string(result.Status), result.Message})
	}
	return tell(verdicts)
}
