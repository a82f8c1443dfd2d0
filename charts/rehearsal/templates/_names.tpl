{{- define "rehearsal.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "rehearsal.labels" -}}
app.kubernetes.io/name: rehearsal
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | quote }}
app.kubernetes.io/part-of: rehearsal
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "rehearsal.selector" -}}
app.kubernetes.io/name: rehearsal
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rehearsal.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "rehearsal.namespaces" -}}
{{- .Values.runNamespaces | default (list .Release.Namespace) | toJson }}
{{- end }}

{{- /* What an uninstall leaves, because runs may be at work. */ -}}
{{- define "rehearsal.kept" -}}
helm.sh/resource-policy: keep
{{- end }}

{{- /* The account of the workers, which has no rights: never the operator's. */ -}}
{{- define "rehearsal.workers" -}}
{{- $name := .Values.platform.serviceAccount | default "rehearsal-worker" }}
{{- if eq $name (include "rehearsal.name" .) }}
{{- fail (printf "platform.serviceAccount: %s is the operator's own service account; name the release or the account otherwise" $name) }}
{{- end }}
{{- $name }}
{{- end }}

{{- /* Whoever may use a store may read all of it that is theirs: it says who. Of one namespace, it is that one's. */ -}}
{{- define "rehearsal.tenants" -}}
{{- $namespaces := include "rehearsal.namespaces" . | fromJsonArray }}
{{- range $name, $store := .Values.platform.stores }}
{{- if and (gt (len $namespaces) 1) (not $store.namespaces) }}
{{- fail (printf "platform.stores.%s.namespaces: name those of %s whose runs may use this store" $name (join ", " $namespaces)) }}
{{- end }}
{{- range $store.namespaces }}
{{- if not (has . $namespaces) }}
{{- fail (printf "platform.stores.%s.namespaces: %s is not among runNamespaces (%s)" $name . (join ", " $namespaces)) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $namespace, $_ := .Values.workerServiceAccount.namespaces }}
{{- if not (has $namespace $namespaces) }}
{{- fail (printf "workerServiceAccount.namespaces: %s is not among runNamespaces (%s)" $namespace (join ", " $namespaces)) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The platform as the operator reads it. Images that the values do not name lie beside the operator's, under the same tag. */ -}}
{{- define "rehearsal.platform" -}}
{{- /* An install may name stores later. An upgrade that names none has most likely lost its values. */ -}}
{{- if and .Release.IsUpgrade (not .Values.platform.stores) }}
{{- fail "platform.stores: this upgrade names no store, and runs that use one would be held. Give the values of the install again (-f FILE), keep them (--reset-then-reuse-values), or name one (--set platform.stores.default.s3.bucket=BUCKET)" }}
{{- end }}
{{- include "rehearsal.tenants" . }}
{{- $folder := regexReplaceAll "[^/]*$" .Values.image.repository "" }}
{{- $tag := .Values.image.tag | default .Chart.AppVersion }}
{{- $own := dict "operator" (include "rehearsal.image" .) }}
{{- range $name := list "inference" "trainer" }}
{{- $_ := set $own $name (printf "%s%s:%s" $folder $name $tag) }}
{{- end }}
{{- $images := merge (dict) (.Values.platform.images | default dict) $own }}
{{- set (deepCopy .Values.platform) "images" $images | toYaml }}
{{- end }}
