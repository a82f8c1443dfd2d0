package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/normalize"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	controller = "kustomize-controller"
	group      = "kustomize.toolkit.fluxcd.io"
	pollEvery  = 500 * time.Millisecond // the controller polls every 5 s
)

// Resources as a Kustomization of the name `runs` declares them.
type kustomization struct {
	client  client.WithWatch
	manager *ssa.ResourceManager
	objects []*unstructured.Unstructured
}

// What applying a resource did, or would do: its part that would change is the difference.
type change struct {
	Subject    string          `json:"subject"`
	Version    string          `json:"version,omitempty"`
	Action     ssa.Action      `json:"action"`
	Difference json.RawMessage `json:"difference,omitempty"`
}

func newKustomization(objects []*unstructured.Unstructured) (*kustomization, error) {
	loading := clientcmd.NewDefaultClientConfigLoadingRules()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(loading, nil).ClientConfig()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 50, 300 // the controller's own
	kube, err := client.NewWithWatch(config, client.Options{})
	if err != nil {
		return nil, err
	}
	if err := normalize.UnstructuredList(objects); err != nil {
		return nil, err
	}
	poller := polling.NewStatusPoller(kube, kube.RESTMapper(), polling.Options{})
	manager := ssa.NewResourceManager(kube, poller, ssa.Owner{Field: controller, Group: group})
	manager.SetOwnerLabels(objects, "runs", "flux-system")
	return &kustomization{kube, manager, objects}, nil
}

// Apply what is new or differs, as in every interval of the controller; what kubectl left behind is taken over.
func (k *kustomization) apply(ctx context.Context) error {
	options := ssa.DefaultApplyOptions()
	options.Cleanup = ssa.ApplyCleanupOptions{
		Annotations: []string{corev1.LastAppliedConfigAnnotation},
		FieldManagers: []ssa.FieldManager{
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationApply},
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: "before-first-apply", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: controller, OperationType: metav1.ManagedFieldsOperationUpdate},
		},
	}
	done, err := k.manager.ApplyAllStaged(ctx, k.objects, options)
	if err != nil {
		return err
	}
	changes := []change{}
	for _, entry := range done.Entries {
		changes = append(changes, change{Subject: entry.Subject, Action: entry.Action})
	}
	return tell(changes)
}

func (k *kustomization) drift(ctx context.Context) error {
	changes := []change{}
	for _, object := range k.objects {
		found, err := k.compare(ctx, object)
		if err != nil {
			return err
		}
		changes = append(changes, found)
	}
	return tell(changes)
}

func (k *kustomization) compare(ctx context.Context, object *unstructured.Unstructured) (change, error) {
	entry, live, merged, err := k.manager.Diff(ctx, object.DeepCopy(), ssa.DefaultDiffOptions())
	if err != nil {
		return change{}, err
	}
	found := change{Subject: entry.Subject, Action: entry.Action}
	if live != nil && merged != nil {
		found.Difference, err = difference(live, merged)
	}
	return found, err
}

func difference(live, merged *unstructured.Unstructured) (json.RawMessage, error) {
	before, err := live.MarshalJSON()
	if err != nil {
		return nil, err
	}
	after, err := merged.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return jsonpatch.CreateMergePatch(before, after)
}

// Look for drift now, and of the first resource after each of its changes until the process is ended: a line each.
func (k *kustomization) follow(ctx context.Context) error {
	object := k.objects[0]
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(object.GroupVersionKind())
	watch, err := k.client.Watch(ctx, list, client.InNamespace(object.GetNamespace()), client.MatchingFields{"metadata.name": object.GetName()})
	if err != nil {
		return err
	}
	if err := k.drift(ctx); err != nil {
		return err
	}
	for event := range watch.ResultChan() {
		seen, ok := event.Object.(*unstructured.Unstructured)
		if !ok {
			return errors.New("the watch ended with an error")
		}
		found, err := k.compare(ctx, object)
		if err != nil {
			return err
		}
		found.Version = seen.GetResourceVersion()
		if err := tell(found); err != nil {
			return err
		}
	}
	return errors.New("the watch ended")
}

// Wait as a Kustomization with `wait: true`: until all is current, and no longer than until something has failed.
func (k *kustomization) wait(_ context.Context, timeout time.Duration) error {
	return k.manager.Wait(k.objects, ssa.WaitOptions{Interval: pollEvery, Timeout: timeout, FailFast: true})
}
