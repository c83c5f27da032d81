{{/* What is fixed of each service: its command, its ports, the servers that it needs. */}}
{{- define "minutebook.programs" -}}
ingest: {command: [python, -m, services.ingest], metrics: 9101, servers: [postgres, rabbitmq]}
ticker: {command: [python, -m, services.ticker], metrics: 9102, servers: [rabbitmq]}
syncer: {command: [python, -m, services.syncer], metrics: 9103, servers: [postgres, rabbitmq, keydb]}
feed: {command: [python, -m, services.feed], metrics: 9106, servers: [postgres, rabbitmq]}
notifier: {command: [python, -m, services.notifier], metrics: 9107, servers: [postgres, rabbitmq]}
tracker: {command: [python, -m, services.tracker], metrics: 9105, servers: [postgres, rabbitmq]}
gateway: {command: [python, -m, services.gateway], metrics: 9104, http: 8080, servers: [postgres, rabbitmq]}
observer: {command: [python, -m, services.observer], metrics: 9108, servers: [postgres, rabbitmq, keydb, api]}
console: {command: [python, -m, ops, console], metrics: 8081, http: 8081, asks: true, servers: [postgres, rabbitmq, management, keydb]}
ops: {command: [sleep, infinity], asks: true, servers: [postgres, rabbitmq, management, keydb]}
{{- end }}

{{- define "minutebook.selector" -}}
app.kubernetes.io/name: minutebook
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "minutebook.labels" -}}
{{ include "minutebook.selector" . }}
app.kubernetes.io/part-of: minutebook
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name (.root.Chart.Version | replace "+" "_") }}
{{- end }}

{{- define "minutebook.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Where ops and the console ask how the services are: those that run, by their Services' names. */}}
{{- define "minutebook.asked" -}}
{{- $asked := list -}}
{{- range $name, $program := include "minutebook.programs" . | fromYaml -}}
{{- if and (index $.Values.services $name).enabled $program.metrics -}}
{{- $asked = append $asked (printf "%s:%v" $name $program.metrics) -}}
{{- end -}}
{{- end -}}
{{- join " " $asked -}}
{{- end }}

{{/* Settings become strings. toJson, since a plain large number would be written as 4.194304e+06. */}}
{{- define "minutebook.environment" -}}
{{- $settings := dict "SECRETS_DIR" "/run/secrets/minutebook" -}}
{{- if .program.metrics -}}
{{- $_ := set $settings "METRICS_PORT" .program.metrics -}}
{{- end -}}
{{- if .program.asks -}}
{{- $_ := set $settings "OPS_SERVICES" (include "minutebook.asked" .root) -}}
{{- $_ := set $settings "CONSOLE_HOST" "0.0.0.0" -}}
{{- end -}}
{{- with .root.Values.shard -}}
{{- $_ := set $settings "SHARD" . -}}
{{- end -}}
{{- range $name, $value := mergeOverwrite $settings (deepCopy .root.Values.settings) (deepCopy .chosen.settings) }}
- name: {{ $name }}
  value: {{ (kindIs "string" $value | ternary $value (toJson $value)) | quote }}
{{- end }}
{{- with .root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A pod of any of our programs, as confined as compose has it. */}}
{{- define "minutebook.pod" -}}
enableServiceLinks: false # they would be read as settings: GATEWAY_PORT=tcp://...
automountServiceAccountToken: false
terminationGracePeriodSeconds: {{ .grace }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with mergeOverwrite (deepCopy .root.Values.pod) (deepCopy .chosen.pod) }}
{{ toYaml . }}
{{- end }}
volumes:
  - name: tmp
    emptyDir: {medium: Memory, sizeLimit: 64Mi}
  - name: secrets
    secret: {secretName: {{ .chosen.secret }}, defaultMode: 288} # 0440
containers:
  - name: {{ .name }}
    image: {{ include "minutebook.image" .root }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command: {{ toJson .program.command }}
    env: {{- include "minutebook.environment" . | trim | nindent 6 }}
    resources: {{- toYaml .chosen.resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      - {name: secrets, mountPath: /run/secrets/minutebook, readOnly: true}
{{- end }}
