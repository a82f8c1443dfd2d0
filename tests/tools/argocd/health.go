package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/health"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// Judge live resources by a health script in Argo CD's own Lua runtime: a JSON list of them in, a list of verdicts out. The kind
// names what the script is for, as `resource.customizations.health.GROUP_KIND` in argocd-cm does.
func judge(input io.Reader, path, kind string) error {
	script, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var resources []unstructured.Unstructured
	if err := json.NewDecoder(input).Decode(&resources); err != nil {
		return err
	}
	overrides := lua.ResourceHealthOverrides{kind: v1alpha1.ResourceOverride{HealthLua: string(script)}}
	verdicts := []verdict{}
	for i := range resources {
		result, err := health.GetResourceHealth(&resources[i], overrides)
		if err != nil {
			return fmt.Errorf("%s: %w", resources[i].GetName(), err)
		}
		if result == nil {
			return fmt.Errorf("%s: %q is not its kind, so Argo CD has no script for it", resources[i].GetName(), kind)
		}
		verdicts = append(verdicts, verdict{string(result.Status), result.Message})
	}
	return tell(verdicts)
}
